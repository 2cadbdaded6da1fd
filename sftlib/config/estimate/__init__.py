"""What a training will need, from the model's config.json alone: parameters, memory, arithmetic, time. No torch."""
