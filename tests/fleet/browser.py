"""What a person sees in Chromium: `browser.py ADDRESS USER PASSWORD ROOM` logs in and prints the room's page as text.

Runs in .venv, which has playwright, and in the controller's network.
"""

import shutil
import sys

from playwright.sync_api import sync_playwright

address, user, password, room = sys.argv[1:]
with sync_playwright() as playwright:
    chromium = playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
    )
    page = chromium.new_page(ignore_https_errors=True, locale="en-GB")  # the certificate is looked at by another test
    page.goto(address)
    page.get_by_label("Name").fill(user)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")
    page.get_by_text(room).first.click()
    page.get_by_text("● live").wait_for()
    print(page.locator("body").inner_text())
    chromium.close()
