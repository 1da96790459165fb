"""What an observation or an action can be.

The parts of a Gymnasium space, and which environments are here.
"""
