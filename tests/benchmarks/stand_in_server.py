"""A small candidate server that always answers exactly, or misses the best tenth: what the benchmark is tested with.

usage: stand_in_server.py exact|misses serve RUN --port 0
"""

import sys
import time
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from load_generator import RunLog
from offline_truth import OfflineTruth

from lowerfunnel.labels.settings import LabelConfig


def stand_in(run: Path, *, misses: bool) -> FastAPI:
    app = FastAPI()
    log = RunLog.of_run(run)
    truth = OfflineTruth(run, log)

    @app.get("/readyz")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.get("/metrics")
    def metrics() -> Response:
        text = "# TYPE lowerfunnel_ann_recall_probes summary\nlowerfunnel_ann_recall_probes_count 8.0\n"
        return Response(text + "lowerfunnel_ann_recall_probes_sum 7.5\n")

    @app.post("/v1/candidates")
    async def candidates(request: Request) -> JSONResponse:
        began = time.perf_counter()
        asked = await request.json()
        score_I = next(truth.scores([asked], conversions=LabelConfig().conversions))
        best = np.argsort(-score_I, kind="stable")[: asked["k"]]
        best = best[np.isfinite(score_I[best])]
        best = best[len(best) // 10 :] if misses else best
        answer = {
            "request_id": "r",
            "version": "v1",
            "candidates": [
                {"item_id": item_id, "score": float(score), "sources": ["conversion"]}
                for item_id, score in zip(truth.items(best), score_I[best], strict=True)
            ],
            "partial": len(best) < asked["k"],
            "degraded": [],
            "known_user": asked["user_id"] < 2**62,
            "eligible_items": int(np.isfinite(score_I).sum()),
        }
        if asked.get("debug"):
            took_ms = (time.perf_counter() - began) * 1e3
            answer |= {"plans": {"conversion": "exact"}, "stage_ms": {"search": took_ms, "total": took_ms}}
        return JSONResponse(answer)

    return app


class Server(uvicorn.Server):
    """Says where it listens."""

    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        print(f"serving on http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}", flush=True)


if __name__ == "__main__":
    how, _, folder = sys.argv[1:4]
    app = stand_in(Path(folder), misses=how == "misses")
    Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning")).run()
