#!/bin/sh
# Make sure that a Chromium is there for the browser tests: a system one where it may be installed, else Playwright's
# own, else say in a sentence what to install.
set -u

found() {
    for name in "${LABELWISE_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

own() {
    .venv/bin/python -c 'import os
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    raise SystemExit(not os.path.exists(playwright.chromium.executable_path))' >/dev/null 2>&1
}

found && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing Chromium for the browser tests ..."
    apt-get update -qq >/dev/null 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-liberation >/dev/null 2>&1
    found && exit 0
fi
own && exit 0
.venv/bin/python -m playwright install chromium >/dev/null 2>&1
own && exit 0
echo "The browser tests need Chromium and could not install it: install the package 'chromium' (or Google Chrome)," \
    "or name one with LABELWISE_CHROMIUM=/path/to/chromium. The other tests run without it."
[ -z "${LABELWISE_REQUIRE_BROWSER:-}" ]
