"""The method of arXiv 2509.15178, written once against the hooks of stvg_core.plugin.

pipeline            Pipeline: encode, compute maps, propose tracks, join
branches            the spatial and the temporal branch of a query (DSTH)
prompts             visual prompts learned on the yes/no logits (LRA)
attention           relative attention, grounding tokens, attention maps
reversed_view       the reversed view and the assembly of views (TAS)
scores, tube        joint inference: scores of tracks and frames, the span, the tube
long_videos         search and grounding in the windows of a long video; windows has its pure functions
question_maps       attention maps of any question, with the tokens and layers of selection
stages              the time of each stage

May import inputs, host, plugin, values, settings. Never sees ground truth.
"""
