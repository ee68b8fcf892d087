"""From a frame to what is counted in it: find faces, crop, classify, count.

May import edge.config, the Frame of edge.camera.source, OpenCV and numpy; a TFLite package in runtime.py alone. Reads
no camera, no clock but for durations, and opens no connection.
"""
