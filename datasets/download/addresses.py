"""Where the official files lie, and how another place is named: a mirror, a cache, or a local server in tests."""

from __future__ import annotations

import os

from ...errors import InputError, unknown_name

ADDRESSES = {
    "voc": "https://thor.robots.ox.ac.uk/pascal/VOC",
    "coco": "http://images.cocodataset.org",
    "lists": (
        "https://raw.githubusercontent.com/wutong16/DistributionBalancedLoss/"
        "14460d0acda6a3e77a8a6a5999b9746243cb1535/appendix"
    ),
}


def address(site: str, path: str) -> str:
    """The address of a file at one of the sites; `MLTBENCH_ADDRESS_VOC`, `_COCO` and `_LISTS` name other sites.

    Raises:
        InputError: if the site is unknown or the replacement is no http address.

    >>> address("coco", "/val2017/000000000139.jpg")
    'http://images.cocodataset.org/val2017/000000000139.jpg'
    """
    if site not in ADDRESSES:
        raise unknown_name("site", site, ADDRESSES)
    variable = f"MLTBENCH_ADDRESS_{site.upper()}"
    base = os.environ.get(variable) or ADDRESSES[site]
    if not base.startswith(("http://", "https://")):
        raise InputError(f"{variable}={base!r} must begin with http:// or https://")
    return f"{base.rstrip('/')}/{path.lstrip('/')}"
