"""Where plugins meet the core: discovery, loading, one session around one backend.

registry        installed backends, from metadata and manifests alone
models, hub     from what a user types to a checkpoint
session         an opened model behind the four hooks, each result checked
wrappers        extensions around hooks
entry_points    trackers, decomposers and other extensions by name

May import plugin, values, settings. Knows no model and no method.
"""
