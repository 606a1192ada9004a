"""What Gradio and file names say in English alone, in Chinese in a real browser, and in English again."""

import re

import pytest
from browsing import open_tab, visiting
from playwright.sync_api import expect

TO_ENGLISH = ".in-zh { display: none !important } .in-en { display: inline !important }"


@pytest.mark.slow
def test_names_and_messages_are_chinese_and_go_back_to_english(browser, served):
    with visiting(browser, locale="zh-CN") as page:
        page.goto(served.url)
        number = page.locator("input[type=number]:visible").first
        expect(number).to_have_attribute("aria-label", "张数（数字）")
        page.get_by_label("随机种子").locator("visible=true").fill("四十二")
        page.locator("#generate-run").click()
        expect(page.locator(".toast-wrap")).to_contain_text("随机种子须为整数")
        expect(page.locator("#generate-status .in-zh")).to_have_text(re.compile("随机种子须为整数"))

        open_tab(page, "重建")
        example = page.locator("#reconstruct-images-grey .gallery-item").first
        expect(example).to_have_attribute("aria-label", "短靴 1")
        page.add_style_tag(content=TO_ENGLISH)
        example.click()  # anything that changes the page
        expect(example).to_have_attribute("aria-label", "ankle boot 1")
