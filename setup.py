"""What pyproject.toml has no setting for: folders beside the packages become genarium/bundled/ in the wheel."""

from setuptools import find_namespace_packages, setup

BUNDLED = {f"genarium.bundled.{name}": name for name in ("plugins", "hub_configs", "checkpoints")}

setup(
    packages=[*find_namespace_packages(include=["genarium*", "pipelines*"]), *BUNDLED],
    package_dir=BUNDLED,
)
