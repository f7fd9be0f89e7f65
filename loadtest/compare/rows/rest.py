"""Rows of Orthanc's REST API, and of pages."""

from __future__ import annotations

from loadtest.compare import rest
from loadtest.compare.row import WEB, Row
from loadtest.compare.table import Goal

REST = (
    Row(
        "rest-archive",
        "REST, the zip of a study of 800 x 512 KB",
        "MB/s",
        rest.archive("512KB"),
        800,
        WEB,
        (Goal(2, "orthanc-tuned"),),
        needs="start",
    ),
    Row(
        "rest-find",
        "REST, /tools/find with a wild card and Expand, 200 000 instances, 4 clients",
        "answers/s",
        rest.calls("/tools/find", operations=40, body=rest.FIND),
        200_000,
        WEB,
        (Goal(10, "orthanc-tuned"),),
        needs="start",
    ),
    Row(
        "rest-changes",
        "REST, 1000 of /changes, 200 000 instances, 4 clients",
        "answers/s",
        rest.calls("/changes?since=0&limit=1000", operations=100),
        200_000,
        WEB,
        (Goal(10, "orthanc-tuned"),),
        needs="start",
    ),
    Row(
        "rest-studies",
        "REST, all of /studies?expand, 200 000 instances, 1 client",
        "answers/s",
        rest.calls("/studies?expand", operations=3, at_once=1),
        200_000,
        WEB,
        (Goal(10, "orthanc-tuned"),),
        needs="start",
    ),
    Row(
        "rest-tags",
        "REST, /instances/{id}/tags, 200 000 instances, 4 clients",
        "answers/s",
        rest.tags(operations=1000),
        200_000,
        WEB,
        (Goal(5, "orthanc-tuned"),),
        needs="start",
    ),
    Row(
        "page-preview",
        "pages, a scroll through a CT of 140 slices of 512 x 512, 4 at once",
        "answers/s",
        rest.previews(at_once=4),
        140,
        WEB,
        (Goal(5, "orthanc-tuned"),),
        needs="start",
    ),
    Row(
        "page-studies",
        "first page of studies: our page whole, Orthanc's 50 of /studies?expand, 200 000 instances, 1 client",
        "answers/s",
        rest.page("/ui/", "/studies?expand&since=0&limit=50", operations=50),
        200_000,
        WEB,
        (Goal(10, "orthanc-tuned"),),
        needs="start",
    ),
)
