"""Models: loading, learning, predicting. The only package that imports torch."""
