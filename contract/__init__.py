"""What all sides of classpulse agree on: labels, preprocessing, messages, topics, model card.

May import: msgspec, numpy and cv2. Imports nothing of ours; no clock, no network, no broker.
"""
