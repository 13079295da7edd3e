"""The server's edge: HTTP in, `CandidateService` behind it.

`app.create_app` and `run.run_server` are its doors, and `keys` and `settings` need nothing installed; everything else
imports FastAPI and uvicorn, which come with `pip install 'lowerfunnel[serve]'`.
"""
