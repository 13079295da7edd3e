"""The page on which a person looks inside a candidate server.

`settings` needs nothing installed; the rest imports FastAPI, which comes with `pip install 'lowerfunnel[serve]'`.
"""
