"""What a trained model must beat: principal components, classical filters."""
