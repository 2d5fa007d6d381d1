"""What the training's tests share."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _hydra_reads_no_source():
    """Hydra is not asked who calls it, which a configuration without files never needs to know.

    `hydra.initialize` finds it with `inspect.stack`, which reads the source of every function on the stack and looks
    through every module that is loaded: more than all the rest of `load_config` below pytest's stack.
    """
    from hydra import initialize

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(
            initialize.__init__.__globals__,
            "detect_calling_file_or_module_from_stack_frame",
            lambda depth: ("config.py", "training.config"),
        )
        yield
