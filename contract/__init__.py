"""What all sides of classpulse agree on: labels, preprocessing, message, topics, model card."""
