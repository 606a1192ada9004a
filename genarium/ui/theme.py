"""One restrained theme: quiet greys, one accent, small radii. The style sheet holds what Gradio has no setting for."""

import gradio as gr

FONTS = ("PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "ui-sans-serif", "system-ui", "sans-serif")


def make_theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.zinc,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
        font=(gr.themes.LocalFont("IBM Plex Sans"), *FONTS),
        font_mono=(gr.themes.LocalFont("IBM Plex Mono"), "ui-monospace", "monospace"),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_shadow="none",
        block_label_background_fill="white",
        block_label_background_fill_dark="*neutral_900",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        color_accent="*primary_700",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*primary_900",
        input_border_width="1px",
        input_background_fill="white",
        input_background_fill_dark="*neutral_800",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_800",
        button_border_width="1px",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        checkbox_label_background_fill_selected="*primary_50",
        checkbox_label_background_fill_selected_dark="*primary_900",
        checkbox_label_text_color_selected="*primary_800",
        checkbox_label_text_color_selected_dark="*primary_100",
        checkbox_label_border_color_selected="*primary_600",
        checkbox_label_border_color_selected_dark="*primary_500",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_400",
    )


CSS = """
.gradio-container { width: 100%; max-width: 1240px !important; margin: 0 auto !important; }
.gradio-container .main.app { padding: 12px clamp(12px, 2.5vw, 24px) !important; }
.gradio-container main { width: 100%; padding: 8px 0 !important; }
.html-container { padding: 0 !important; }
footer { margin-top: 24px !important; gap: 20px; }
footer button { min-height: 40px; } /* at every width: Gradio keeps what stands under a condition from the footer */
/* on phones Gradio hides its link to the API, but not the dot after it */
footer .divider { display: none !important; }
.in-en, .in-zh { color: inherit; }
.dark { --color-accent: var(--primary-400); }
.dark input[type=range] { --neutral-200: var(--neutral-700); }

#masthead { display: flex; align-items: baseline; gap: 4px 16px; flex-wrap: wrap; }
#masthead .name { margin: 0; font-size: 26px; line-height: 1.25; font-weight: 600; letter-spacing: -0.02em; color: var(--body-text-color); }
#masthead .tagline { color: var(--body-text-color-subdued); font-size: 15px; }
#language-style { display: none; }

.intro { color: var(--body-text-color-subdued); font-size: 15px; }
.facts { display: flex; flex-wrap: wrap; gap: 2px 20px; margin: 0; font-size: 13px; line-height: 1.5; }
.facts dt { color: var(--body-text-color-subdued); margin-right: 6px; display: inline; }
.facts dd { display: inline; margin: 0; color: var(--body-text-color); font-weight: 600; overflow-wrap: anywhere; }
.facts a, .family a { color: var(--link-text-color); text-decoration: none; }
.facts a:hover, .family a:hover { text-decoration: underline; }

/* the question: one card, whose fields have no frames of their own */
.workbench { gap: 24px !important; }
.question { border: 1px solid var(--block-border-color); border-radius: var(--block-radius); padding: 18px;
  background: var(--block-background-fill); gap: 18px !important; align-self: flex-start; }
.question .form { border: none !important; background: none !important; gap: 18px !important; overflow: visible !important; }
.question .form > .block, .question .form > fieldset { border: none !important; background: none !important;
  padding: 0 !important; overflow: visible !important; }
.question .gr-accordion { border: none !important; border-top: 1px solid var(--block-border-color) !important;
  border-radius: 0; background: none !important; padding: 14px 0 0 !important; overflow: visible !important; }
.question .gr-accordion > .label-wrap.open { margin-bottom: 14px; }
.question .gr-accordion > .label-wrap span { font-weight: 600; }
.question .tab-like-container { flex: none; }
.question .tab-like-container input { width: 68px; }
input[type=range]:focus-visible { outline: 2px solid var(--color-accent) !important; outline-offset: 4px; border-radius: 4px; }
input[type=range]::-webkit-slider-thumb { border: 1px solid var(--neutral-400) !important; }
input[type=range]::-moz-range-thumb { border: 1px solid var(--neutral-400) !important; }
.label-wrap .icon { font-size: 10px; color: var(--body-text-color-subdued); }

.hub { max-width: 860px; width: 100%; }
.hub details { font-size: 13px; margin-top: 8px; }
.hub details ul { padding-left: 18px; }
.hub details li { margin: 2px 0; overflow-wrap: anywhere; }

.seed-row, .run-row { flex-wrap: nowrap !important; align-items: flex-end !important; gap: 10px !important; }
.seed-row .dice { min-width: 44px !important; max-width: 44px; height: 40px; font-size: 0; padding: 0; }
.seed-row .dice::before { content: "\\2684"; font-size: 22px; }
.seed-row input { height: 40px; }
.run-row button { min-width: 0 !important; }

.status { font-size: 14px; color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.status .line { display: flex; justify-content: space-between; gap: 12px; padding: 0 2px; }
.status .bar { height: 4px; border-radius: 2px; background: var(--border-color-primary); overflow: hidden; margin-top: 8px; }
.status .bar i { display: block; height: 100%; background: var(--slider-color); transition: width .15s linear; }
.status .bar.wait i { width: 25%; animation: wait 1.4s ease-in-out infinite alternate; }
@keyframes wait { from { margin-left: 0; } to { margin-left: 75%; } }
.status.bad .line { color: #b91c1c; }
.dark .status.bad .line { color: #fca5a5; }
.placeholder { position: relative; }
.placeholder i { display: block; aspect-ratio: 1; border-radius: 6px; background: var(--neutral-100); }
.dark .placeholder i { background: var(--neutral-900); }
.placeholder p { position: absolute; inset: 0; display: grid; place-content: center; margin: 0; padding: 0 16px;
  text-align: center; color: var(--body-text-color-subdued); font-size: 15px; }

/* pictures: crisp, and nothing on top of them */
.tiles { display: grid; gap: 8px; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
.tiles img { width: 100%; aspect-ratio: 1; border-radius: 6px; }
.tiles img, .pixels img, .card img { image-rendering: pixelated; }
.pixels img { object-fit: contain; }
.tiles.few { max-width: 420px; }
.shown, .sheet { border: none !important; background: none !important; overflow: visible !important; }
.shown > label, .sheet > label { position: static !important; border: none !important; background: none !important; display: block !important;
  padding: 0 64px 0 2px !important; height: 30px; line-height: 30px !important; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
.shown > label > span, .sheet > label > span { display: none !important; }
.shown .icon-button-wrapper, .sheet .grid-wrap > .icon-button-wrapper { top: -30px !important; right: 0 !important;
  border: none; background: none; }
.shown.fullscreen, .sheet.fullscreen { background: var(--block-background-fill) !important; }
.shown.fullscreen img { max-height: calc(100vh - 30px); }
.shown .image-container { position: relative; }
.shown .image-container, .shown .image-frame, .shown img { width: 100%; }
.shown img { aspect-ratio: 1; border-radius: 6px; }
.side-by-side { display: grid !important; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.sheet .grid-wrap { height: auto !important; min-height: 0 !important; max-height: none !important; padding: 0 !important;
  overflow: visible !important; position: relative; }
.sheet .gallery-item { height: auto !important; min-height: 0 !important; }
.sheet .grid-container { grid-auto-rows: auto !important; grid-template-rows: none !important; grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)) !important; gap: 8px; }
.sheet .grid-container .thumbnail-item { width: 100% !important; height: auto !important; min-width: 0 !important; }
.sheet .grid-container .thumbnail-item { aspect-ratio: auto !important; display: flex; flex-direction: column; overflow: visible; }
.sheet .thumbnail-item .caption-label { position: static; max-width: 100%; padding: 3px 0 0; border: none; background: none; opacity: 1;
  color: var(--body-text-color-subdued); font-size: 12px; line-height: 1.3; text-align: center; }
.example-strip .gallery { gap: 4px !important; }
.example-strip .gallery-item { width: 36px !important; height: 36px !important; overflow: hidden; border-radius: 6px; }
.example-strip .gallery-item * { width: 36px !important; height: 36px !important; min-width: 0 !important; }
.example-strip img { image-rendering: pixelated; object-fit: cover !important; }
.note { font-size: 13px; color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; padding: 0 2px; }

/* the film of a chain: a window before a picture in which all frames lie below each other */
.film { margin: 12px 0 0; display: grid; gap: 8px; }
.film figcaption { font-size: 14px; }
.film .window { width: min(100%, calc(max(var(--wide), 2) * 112px)); border-radius: 6px; image-rendering: pixelated; background-repeat: no-repeat;
  background-size: 100% calc(100% * (var(--last) + 1)); background-position: 0 calc(100% * var(--frame) / var(--last)); }
.film .reel { display: flex; gap: 12px; align-items: center; max-width: 560px; }
.film .reel button { min-width: 72px; min-height: 36px; padding: 4px 12px; border-radius: 6px; font-size: 14px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color); }
.film .reel button:focus-visible { outline: 2px solid var(--color-accent); }
.film[data-playing] .play, .film:not([data-playing]) .pause { display: none; }
.film label { flex: 1; min-width: 0; display: flex; gap: 8px; align-items: center; font-size: 14px; }
.film input { flex: 1; min-width: 60px; accent-color: var(--color-accent); }
.film output { min-width: 6em; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }

/* sound: below each waveform, over the same time, what it looks like */
.player { gap: 6px !important; }
.seen { margin: 0; display: grid; gap: 4px; }
.seen img { display: block; width: 100%; }
.seen .mel { height: 96px; border-radius: 6px; }
.seen .codes { height: 14px; border-radius: 3px; image-rendering: pixelated; }
.seen .curve { display: block; width: 100%; height: 60px; }
.seen .curve polyline { fill: none; stroke: var(--color-accent); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.question .sound .upload-container { height: 96px !important; min-height: 0 !important; }
.question .sound .upload-container .wrap { min-height: 0 !important; padding: 14px 0 0 !important; font-size: 14px; }
.question .sound .upload-container .icon-wrap { display: none; }
.placeholder.wide i { aspect-ratio: 3; }

/* The colours of Gradio's code are too pale to read on white: contrast 4.0 for keywords, 2.0 for numbers. On the dark card the
   grey of comments is just too dim: 4.48. */
body:not(.dark) .cm-line span { color: var(--body-text-color) !important; }
.dark .cm-editor { background: var(--neutral-950); }

.card h1 { font-size: 20px; } .card h2 { font-size: 16px; margin-top: 20px !important; }
.card table { display: block; overflow-x: auto; font-size: 13px; }
.card td, .card th { word-break: normal; overflow-wrap: normal; vertical-align: top; padding: 6px 8px !important; }
.card pre { overflow-x: auto; }
.card img { width: 100%; max-width: 560px; border-radius: 6px; }

.families { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); }
.family { border: 1px solid var(--block-border-color); border-radius: var(--block-radius); padding: 18px;
  background: var(--block-background-fill); }
.family h2 { margin: 0 0 6px; font-size: 18px; font-weight: 600; }
.family p { margin: 0 0 10px; line-height: 1.6; }
.family ul { margin: 0 0 10px; padding-left: 18px; font-size: 14px; }
.family li { margin: 2px 0; list-style: disc; overflow-wrap: anywhere; }
.family .small { font-size: 13px; margin: 0; color: var(--body-text-color-subdued); }
.family code { font-size: 0.92em; overflow-wrap: anywhere; }
.about { max-width: 860px; line-height: 1.6; margin: 0; }

@media (max-width: 640px) {
  /* smaller text in a field makes a phone zoom in when the field is touched, and smaller things are hard to hit */
  input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select { font-size: 16px !important; }
  button, [role=button], summary, select { min-height: 40px !important; }
  input:not([type=range]):not([type=checkbox]):not([type=radio]):not([type=file]) { min-height: 40px !important; }
  summary { align-content: center; }
  .label-wrap { align-items: center; }
  .tab-like-container { height: auto !important; }
  .example-strip .gallery-item, .example-strip .gallery-item * { width: 40px !important; height: 40px !important; }
  .shown > label, .sheet > label { height: 44px; line-height: 44px !important; }
  .shown .icon-button-wrapper, .sheet .grid-wrap > .icon-button-wrapper { top: -44px !important; }
  .source-selection .icon { width: 40px; height: 40px; padding: 9px; }
  .tab-container, .tab-container button { min-height: 44px; }
  .tab-container button { padding: 0 2px !important; font-size: 12px !important; } /* all seven fit a phone */
  .tiles { grid-template-columns: repeat(min(var(--columns), 4), minmax(0, 1fr)); }
  .sheet .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
  /* one column, in which the answer comes right after Run and the settings after the answer */
  .workbench { flex-direction: column !important; flex-wrap: nowrap !important; gap: 18px !important; }
  .workbench > .column { display: contents !important; }
  .workbench .settings { order: 1; }
  .side-by-side { gap: 8px !important; grid-template-columns: repeat(auto-fit, minmax(100px, 1fr)); }
  .side-by-side .shown [aria-label=Fullscreen] { display: none; }
  .side-by-side .shown > label { padding-right: 28px !important; }
}
"""
