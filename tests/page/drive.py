"""Drives the page in a real browser against a real fleet.

    PYTHONPATH=.tools/python-page python3 tests/page/drive.py CHROMIUM OPEN CLOSED PICTURES SHOTS

OPEN and CLOSED are addresses of gateways, the second of which asks for credentials; PICTURES is a folder with images,
SHOTS one for screenshots. Ends with 1 and a sentence when something is not as it should be.
"""

import base64
import sys
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

CHROMIUM, OPEN, CLOSED, PICTURES, SHOTS = sys.argv[1:]
PICTURES, SHOTS = Path(PICTURES), Path(SHOTS)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE = 60_000


def main():
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for check in [images_are_asked, bad_images_say_why, keyboard_alone, pasting_and_dropping, feedback_is_given,
                      history_stays_here, no_script_needed, signing_in, contract_for_people, pictures_of_it]:
            check(browser)
            print(f"ok {check.__name__}")
        browser.close()


def visit(browser, address, path="/", **options):
    """A page whose console must stay silent, and which must load nothing from elsewhere."""
    # What fades in is not to be judged half faded in.
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce", **options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.complaints = []
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: elsewhere(request.url, address) and page.complaints.append(f"asked {request.url}"))
    page.goto(address + path)
    return page


def elsewhere(url, address):
    return not url.startswith((address, "blob:", "data:"))


def silent(page, but=()):
    """Refused requests are logged by the browser itself; anything else is a fault of the page."""
    left = [text for text in page.complaints if not any(known in text for known in but)]
    assert not left, left
    page.context.close()


def accessible(page):
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, serious


def cards(page):
    return page.locator("#answers article")


def images_are_asked(browser):
    page = visit(browser, OPEN)
    page.set_input_files("#files", [PICTURES / "digit-3.png", PICTURES / "digit-7.png"])
    expect(cards(page)).to_have_count(2)
    for digit in "37":
        card = cards(page).filter(has=page.get_by_role("heading", name=digit, exact=True))
        expect(card.locator(".bars li")).to_have_count(5)
        expect(card.locator(".chip")).to_be_visible()
        expect(card.get_by_text("very sure").or_(card.get_by_text("fairly sure"))).to_be_visible()
        assert card.locator("svg").count() > 5, "the waterfall is missing"
    # The same picture again: no worker is asked.
    page.set_input_files("#files", [PICTURES / "digit-3.png"])
    expect(page.locator(".chip.hit")).to_be_visible()
    page.locator("#sample-list button").first.click()
    expect(cards(page)).to_have_count(4)
    expect(page.locator("#live-workers")).to_have_text("1")
    expect(page.locator("#live-sentence")).not_to_have_text("Asking the gateway …")
    accessible(page)
    silent(page)


def bad_images_say_why(browser):
    page = visit(browser, OPEN)
    page.set_input_files("#files", {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture at all"})
    card = cards(page).first
    expect(card).to_have_class("card failed")
    expect(card).to_contain_text("not_an_image")
    page.set_input_files("#files", {"name": "half.png", "mimeType": "image/png",
                                    "buffer": (PICTURES / "digit-1.png").read_bytes()[:-40]})
    expect(cards(page).filter(has_text="corrupt_image")).to_have_count(1)
    card.get_by_role("button", name="Remove").click()
    silent(page, but=["400"])


def keyboard_alone(browser):
    page = visit(browser, OPEN)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("To the upload")
    for _ in range(40):
        if page.evaluate("document.activeElement.closest('#sample-list') !== null"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(cards(page)).to_have_count(1)
    expect(cards(page).locator(".bars li").first).to_be_visible()
    expect(page.locator("#announcements")).to_contain_text("%")
    silent(page)


def pasting_and_dropping(browser):
    page = visit(browser, OPEN)
    encoded = base64.b64encode((PICTURES / "digit-5.png").read_bytes()).decode()
    give = """([kind, encoded]) => {
        const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], "five.png", { type: "image/png" }));
        const event = kind === "paste"
            ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }"""
    for count, kind in enumerate(["paste", "drop"], start=1):
        page.evaluate(give, [kind, encoded])
        expect(cards(page)).to_have_count(count)
    expect(page.get_by_role("heading", name="5", exact=True)).to_have_count(2)
    silent(page)


def feedback_is_given(browser):
    page = visit(browser, OPEN)
    page.set_input_files("#files", [PICTURES / "digit-8.png"])
    page.get_by_role("button", name="Wrong").click()
    page.get_by_label("What does it show?").fill("a snowman")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("marked as wrong, it is “a snowman”")).to_be_visible()
    silent(page)


def history_stays_here(browser):
    page = visit(browser, OPEN)
    page.set_input_files("#files", [PICTURES / "digit-2.png"])
    expect(page.locator("#history-list li")).to_have_count(1)
    page.reload()
    page.locator("#history-list button").click()
    expect(cards(page).first).to_contain_text("from the history")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#history")).to_be_hidden()
    silent(page)


def no_script_needed(browser):
    page = visit(browser, OPEN, java_script_enabled=False)
    page.set_input_files("#files", [PICTURES / "digit-4.png"])
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("heading", name="4", exact=True)).to_be_visible()
    page.get_by_role("button", name="Report incorrect answer").click()
    expect(page.get_by_text("Thank you for your feedback.")).to_be_visible()
    page.set_input_files("#files", {"name": "x.png", "mimeType": "image/png", "buffer": b"<b>nothing"})
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".message")).to_be_visible()
    page.context.close()


def signing_in(browser):
    page = visit(browser, CLOSED)
    page.set_input_files("#files", [PICTURES / "digit-6.png"])
    dialog = page.get_by_role("dialog", name="Sign in")
    dialog.get_by_label("Email").fill("admin@example.com")
    dialog.get_by_label("Password").fill("wrong")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_role("alert")).to_contain_text("wrong")
    dialog.get_by_label("Password").fill("admin")
    dialog.get_by_role("button", name="Sign in").click()
    # What was refused is sent again by itself.
    expect(page.get_by_role("heading", name="6", exact=True)).to_be_visible()
    expect(page.locator("#account-name")).to_have_text("Admin")
    page.get_by_role("button", name="Right").click()
    expect(page.get_by_text("marked as right")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#sign-in-open")).to_be_visible()
    silent(page, but=["401"])


def contract_for_people(browser):
    page = visit(browser, OPEN, "/docs")
    expect(page.locator("#predict")).to_contain_text("/predict")
    assert page.locator(".operation").count() > 30
    page.get_by_label("Filter").fill("webhooks")
    expect(page.locator("#webhookSecret")).to_be_visible()
    expect(page.locator("#predict")).to_be_hidden()
    page.get_by_label("Filter").fill("")
    accessible(page)
    silent(page)


def pictures_of_it(browser):
    for name, viewport, scheme in [("desktop", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")]:
        page = visit(browser, OPEN, color_scheme=scheme)
        page.set_viewport_size(viewport)
        page.set_input_files("#files", [PICTURES / "digit-3.png", PICTURES / "digit-9.png"])
        expect(page.locator(".bars")).to_have_count(2)
        page.set_input_files("#files", {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"})
        expect(page.locator(".card.failed")).to_have_count(1)
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, f"{name}: wider than the window"
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
        page.goto(f"{OPEN}/docs")
        expect(page.locator("#predict")).to_be_visible()
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), f"docs, {name}: too wide"
        page.screenshot(path=SHOTS / f"docs-{name}.png")
        page.context.close()


if __name__ == "__main__":
    main()
