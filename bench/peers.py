"""How the peers are started: as they come, one process, with our upstream in the place of Anthropic."""

import json
import os
from pathlib import Path

from bench.payloads import MODEL
from bench.servers import StartError

LITELLM_KEY = "sk-bench-litellm"


def program(variable: str) -> str:
    """The path in the environment variable `variable`. Raises StartError where it names no file."""
    path = Path(os.environ.get(variable, ""))
    if not path.is_file():
        raise StartError(f"{variable} must name the program; see bench/README.md")
    return str(path.absolute())


def litellm_command(folder: Path, port: int, upstream: str, key: str) -> list[str]:
    """Command line of LiteLLM's proxy for the one model. Raises StartError as `program` does."""
    model = {"model": f"anthropic/{MODEL}", "api_base": upstream, "api_key": key}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "general_settings": {"master_key": LITELLM_KEY},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    options = ["--config", str(path), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    return [program("BENCH_LITELLM"), *options]


def portkey_command(port: int) -> list[str]:
    """Command line of Portkey's gateway. Raises StartError as `program` does."""
    return ["node", program("BENCH_PORTKEY"), "--headless", f"--port={port}"]


def portkey_headers(upstream: str) -> dict[str, str]:
    """What a request to Portkey says about where it goes."""
    return {"x-portkey-provider": "anthropic", "x-portkey-custom-host": f"{upstream}/v1"}
