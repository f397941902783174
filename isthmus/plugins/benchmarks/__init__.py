"""Built-in benchmarks: questions, how answers are read and scored, what is reported."""
