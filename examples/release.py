"""A release script: builds an image with bxcache, checks the result and prints its steps.

    python release.py VERSION [NAME=CONTEXT ...]

It runs in the checkout that is to be released and takes the configuration from there. A named
context takes the place of a base image, as `--build-context` does for docker.
"""

# ruff: noqa: INP001, T201

import sys

import bxcache


def release(version: str, contexts: dict[str, str]) -> bxcache.BuildResult:
    """Build the image of a version, with every step that the caches have."""
    return bxcache.build(
        tags=[f"app:{version}"],
        labels={"org.opencontainers.image.version": version},
        load=True,
        strict=True,
        # An empty one would take the place of what the configuration says.
        **({"build_contexts": contexts} if contexts else {}),
    )


def find_faults(result: bxcache.BuildResult) -> list[str]:
    """What speaks against a release of this image, though it was built."""
    faults = list(result.warnings)
    if result.digest is None:
        faults.append("there is no image")
    return faults


def render_steps(result: bxcache.BuildResult) -> str:
    """Each step with its outcome, then the totals and the caches."""
    lines = [f"{step.outcome:<9} {step.seconds:6.1f} s  {step.text}" for step in result.steps]
    lines.append(f"{result.reused} of {len(result.steps)} steps reused")
    lines += [f"saved to {cache.place}" for cache in result.caches if cache.exported]
    return "\n".join(lines)


def main() -> int:
    """Release, or say why not."""
    version, *pairs = sys.argv[1:] or [""]
    if not version or not all("=" in pair for pair in pairs):
        print(__doc__, file=sys.stderr)
        return 2
    contexts = dict(pair.split("=", 1) for pair in pairs)
    try:
        result = release(version, contexts)
    except bxcache.BxcacheError as error:
        print(f"no release: {error}", file=sys.stderr)
        return error.exit_status
    print(render_steps(result))
    faults = find_faults(result)
    if faults:
        print("no release:", "; ".join(faults), file=sys.stderr)
        return 1
    print(f"{result.tags[0]} is {result.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
