"""What goes into the method: videos, queries, object tracks; and data sets with their ground truth.

video      decoding, sampling, display geometry
query      the split into attribute and action sub-queries
tracks     candidate object tracks
datasets   published data sets

May import host, plugin, values, settings. Only data sets hold ground truth; nothing here imports them.
"""
