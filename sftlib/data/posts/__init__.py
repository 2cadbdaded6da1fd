"""The bundled data set of the demonstration and the tests: short labelled posts, made by `generate`."""
