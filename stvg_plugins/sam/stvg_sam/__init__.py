"""Object tracks for the framework: Grounding DINO with SAM 2, SAM 3, and linked detections."""
