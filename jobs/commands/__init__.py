"""One module a command of the submit side: `add_arguments(parser)`, `run(args) -> exit code`, EXAMPLE."""
