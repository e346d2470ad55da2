"""Every RPC as a value: what is sent, where, and what of the answer is wanted.

A call knows no channel and does nothing, so that one description serves the sync client and an async one.
"""
