"""Files and pages made of results: JSON documents, images, videos, HTML.

report      of a grounding
attention   of `attend`
serving     shows a folder of pages to a browser of this machine

May import method, inputs, metrics, host and plugin. Never calls a model.
"""
