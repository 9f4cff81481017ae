"""The engine `ray`: runs the method in one Ray actor per device, on one machine or on a cluster."""
