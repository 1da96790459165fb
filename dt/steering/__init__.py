"""Steering: with the weights held fixed, which input makes the output that is wanted?"""
