"""Why a goal is missed, and what it would take, by the key of its line; the page shows it as long as the goal is missed."""

PAGES = "a page that changed is sent whole, compressed; differences from its previous version would be smaller"

WHY = {
    "bytes-update": PAGES,
    "bytes-append": PAGES,
    "bytes-delete": PAGES,
}
