"""What plugin authors and people who report problems run.

testing    the conformance kit: proves a backend against plain forward passes
scaffold   writes a new backend's distribution
doctor     what is installed on this machine and what does not work
demos      shipped clips

May import api and everything below.
"""
