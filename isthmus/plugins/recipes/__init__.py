"""What is asked of teachers: a recipe a folder, with its words in files beside the code."""
