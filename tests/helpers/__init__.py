"""What several test files need: files as others write them, and a real browser."""
