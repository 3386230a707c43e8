from __future__ import annotations

import json

from tallystick.wire.model_list import render_model, render_model_list


def test_shapes() -> None:
    model = {"id": "m", "object": "model", "created": 7, "owned_by": "tallystick"}
    assert json.loads(render_model("m", created=7)) == model
    assert json.loads(render_model_list(["m"], created=7)) == {"object": "list", "data": [model]}
