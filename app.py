"""The Space: a photo or an embedding in, its types out, with the reasons. Locally:

    python app.py --model geograph-type-classifier [--vision_model NAME_OR_DIR] [--port N]

Without `--model` it takes the folder `model` beside this file, else the model that the README.md beside it names.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODEL_FOLDER = "model"
EXAMPLES = HERE / "geograph_types" / "space" / "examples"

MAX_UPLOAD = "20mb"
QUEUE_SIZE = 32
HOUR = 3600

CREDITS = """
Photos on [Geograph Britain and Ireland](https://www.geograph.org.uk) are © their photographers and licensed
[CC BY-SA 2.0](https://creativecommons.org/licenses/by-sa/2.0/); credit one as
`Title / cc-by-sa/2.0 - © Name - geograph.org.uk/p/ID`. Official data and weights: CC BY-SA 4.0, Geograph Project
Limited. Code: Apache-2.0. The example pictures were drawn by a program. What you upload is
forgotten within an hour or two.
"""

# Gradio's own greys and blues are too faint to read for many: at least 4.5 : 1 (WCAG 2.2, AA), on light and on dark.
CONTRAST = {
    "body_background_fill": "#f3f6f9",
    "body_background_fill_dark": "#0f1720",
    "block_background_fill": "#ffffff",
    "block_background_fill_dark": "#18222e",
    "border_color_primary": "#c3ccd6",
    "border_color_primary_dark": "#3a4858",
    "input_background_fill": "#ffffff",
    "input_background_fill_dark": "#0f1720",
    "input_border_width": "1px",
    "input_border_color": "#7a8796",
    "input_border_color_dark": "#7a8796",
    "input_shadow": "none",
    "link_text_color": "#0b5394",
    "link_text_color_dark": "#8ac0f5",
    "link_text_color_visited": "#0b5394",
    "link_text_color_visited_dark": "#8ac0f5",
    "color_accent": "#0b5394",
    "slider_color": "#0b5394",
    "slider_color_dark": "#6cb0f0",
    "block_label_background_fill_dark": "#1e3a5f",
    "block_title_background_fill_dark": "#1e3a5f",
    "block_label_text_color": "#0b3d6e",
    "block_label_text_color_dark": "#dbeafe",
    "block_title_text_color": "#0b3d6e",
    "block_title_text_color_dark": "#dbeafe",
    "block_info_text_color": "#4b5563",
    "block_info_text_color_dark": "#cbd5e1",
    "input_placeholder_color": "#5f6b7a",
    "input_placeholder_color_dark": "#a3adbb",
    "button_primary_background_fill": "#0b5394",
    "button_primary_background_fill_hover": "#083d6d",
    "button_primary_background_fill_dark": "#0b5394",
    "button_primary_background_fill_hover_dark": "#083d6d",
    "button_primary_text_color": "#ffffff",
    "button_primary_text_color_dark": "#ffffff",
    "body_text_color_subdued": "#4b5563",
    "body_text_color_subdued_dark": "#cbd5e1",
}

SYNTHETIC = (
    '<div class="gt"><p class="gt-banner" role="note"><strong>Made-up knowledge.</strong> This model learnt from '
    "synthetic rows, to try the software on. What it says of photos means nothing.</p></div>"
)


# Screen readers hear a new answer; on a phone, where it appears below the questions, it is brought into view.
ANNOUNCE = (
    "() => { for (const id of ['answer', 'gps']) document.getElementById(id)?.setAttribute('aria-live', 'polite') }"
)
SHOW_ANSWER = """() => {
  const answer = document.getElementById('answer');
  if (answer.getBoundingClientRect().top > window.innerHeight - 120) answer.scrollIntoView({block: 'start'});
}"""


@dataclass
class AppArguments:
    model: str | None = field(default=None, metadata={"help": "a model folder or Hub id"})
    vision_model: str | None = field(default=None, metadata={"help": "CLIP's vision tower: a Hub id or a folder"})
    port: int = field(default=7860, metadata={"help": "where the page is served"})


def main() -> None:
    from geograph_types import cli

    (args,) = cli.parse_flags(AppArguments, description=__doc__)
    quiet_and_private()
    from geograph_types.space.model import SpaceModel

    name = args.model or model_beside()
    if not Path(name).is_dir() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise cli.CommandError(f"{name}: no such model folder; train.py makes one")
    page = build(SpaceModel(name, args.vision_model))
    launch(page, server_port=args.port)


def quiet_and_private() -> None:
    """No telemetry; and uploads, which Gradio keeps as files for a while, lie in memory where the system has that."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    memory = Path("/dev/shm")  # noqa: S108 (a folder of its own in it)
    if memory.is_dir() and os.access(memory, os.W_OK):
        os.environ.setdefault("GRADIO_TEMP_DIR", str(memory / f"geograph-types-{os.getpid()}"))


def model_beside() -> str:
    """The model of a Space: it lies beside this file, or its name stands in the README.md.

    Raises:
        CommandError: neither.
    """
    from geograph_types.cli import CommandError

    if (HERE / MODEL_FOLDER / "config.json").is_file():
        return str(HERE / MODEL_FOLDER)
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if match := re.search(r"^models:\s*\n\s*-\s*(\S+)", text, re.MULTILINE):
        return match[1]
    raise CommandError("no model: name one with --model DIR, such as the folder that train.py made")


def build(space: Any):
    """The page, a `gr.Blocks`, on a `SpaceModel`."""
    import gradio as gr

    from geograph_types.space import view as view

    def show(question, bucket=None):
        table = space.table(question)
        return shown(question, table, question.bucket if bucket is None else bucket)

    def shown(question, table, bucket):
        prediction = space.prediction(question, table, bucket)
        far = space.classes.index("Cross Far")
        why = view.why_cross_grid(
            prediction, question.subject, question.viewpoint, table[bucket][far], space.thresholds["Cross Far"]
        )
        return (
            view.answer(prediction, space.thresholds, bucket, why),
            view.curves(table, space.classes, bucket, question.bucket),
            gr.Slider(value=bucket, visible=True),
            (question, table),
        )

    def told(work, *args):
        """Runs `work`; what is wrong with a visitor's input becomes a message in the page."""
        try:
            return work(*args)
        except (ValueError, OSError) as error:
            raise gr.Error(" ".join(str(error).split()), duration=None, print_exception=False) from None

    def on_photo(photo, distance, subject, viewpoint):
        if photo is None:
            raise gr.Error("Choose a photo first.", duration=None, print_exception=False)
        return told(lambda: show(space.photo(photo, distance, subject, viewpoint)))

    def on_row(row, distance, subject, viewpoint):
        return told(lambda: show(space.row(row or "", distance, subject, viewpoint)))

    def on_slider(bucket, state):
        if state is None:
            raise gr.Error("Ask about a photo or a row first.", duration=None, print_exception=False)
        answer, plot, _, _ = shown(*state, int(bucket))
        return answer, plot

    def on_many(files):
        if not files:
            raise gr.Error("Choose photos first.", duration=None, print_exception=False)
        return told(lambda: view.many(*space.many(files), space.classes))

    def on_photo_changed(photo, viewpoint, filled):
        """The photo's GPS tag fills the viewpoint in, unless a visitor wrote something there."""
        from geograph_types.space.model import viewpoint_in

        if (viewpoint or "").strip() not in ("", filled):
            return gr.skip(), "", ""
        place = (viewpoint_in(photo) if photo else None) or ""
        return place, f"Viewpoint {place} taken from the photo's GPS tag." if place else "", place

    def classify(photo: str, distance: str = "", subject: str = "", viewpoint: str = "") -> dict:
        """The types of a photo.

        photo: the photo, uploaded. distance: metres from the photographer to the subject, or blank. subject,
        viewpoint: grid references, or latitude and longitude, or blank. Returns types, scores, cross_grid, note,
        error.
        """
        question = told(lambda: space.photo(photo, distance, subject, viewpoint))
        return space.prediction(question, space.table(question))

    def classify_embedding(row: str) -> dict:
        """The types of a ready embedding.

        row: one source row as JSON, with embeddings (base64 of 512 float32) and distance, and perhaps subject and
        viewpoint. Returns types, scores, cross_grid, note, error.
        """
        question = told(lambda: space.row(row))
        return space.prediction(question, space.table(question))

    with gr.Blocks(title="Geograph types", delete_cache=(HOUR, HOUR), analytics_enabled=False) as page:
        gr.Markdown("# What type of photo is it?\nDrop a photo of Britain or Ireland, say what you know of its place, "
                    "and see the Geograph types to submit, and why.")  # fmt: skip
        if space.config.synthetic:
            gr.HTML(SYNTHETIC, padding=False)
        state = gr.State(None, time_to_live=HOUR)
        filled = gr.State("", time_to_live=HOUR)  # the viewpoint that a GPS tag gave
        distance = gr.Textbox(
            label="Distance to the subject, in metres", elem_id="distance", placeholder="16", render=False,
            info="Blank: from the two points below, else not known",
        )  # fmt: skip
        subject = gr.Textbox(
            label="Subject", info="Grid reference, or latitude, longitude", placeholder="TQ 3003 8048",
            elem_id="subject", render=False,
        )  # fmt: skip
        viewpoint = gr.Textbox(
            label="Viewpoint: where the photographer stood", info="The same, or from the photo's GPS tag",
            placeholder="51.5074, -0.1283", elem_id="viewpoint", render=False,
        )  # fmt: skip
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                with gr.Tabs():
                    with gr.Tab("A photo") as photo_tab:
                        photo = gr.Image(
                            label="Photo", type="filepath", image_mode=None, sources=["upload", "clipboard"],
                            height=300, elem_id="photo",
                        )  # fmt: skip
                        photo_examples(gr, [photo, distance, subject, viewpoint])
                    with gr.Tab("An embedding") as row_tab:
                        row = gr.Textbox(
                            label="One source row, as JSON", lines=5, max_lines=8, elem_id="row",
                            placeholder='{"gridimage_id": 7706259, "distance": "16", "embeddings": "yZWovqO…"}',
                        )  # fmt: skip
                        row_examples(gr, row)
                with gr.Group():
                    distance.render()
                    subject.render()
                    viewpoint.render()
                gps = gr.Markdown(elem_id="gps")
                ask_photo = gr.Button("Tell its types", variant="primary", elem_id="ask-photo")
                ask_row = gr.Button("Tell its types", variant="primary", elem_id="ask-row", visible=False)
            with gr.Column(scale=6, min_width=300):
                answer = gr.HTML(
                    '<div class="gt"><p class="gt-empty">The answer appears here.</p></div>',
                    elem_id="answer", label="Answer", padding=False,
                )  # fmt: skip
                slider = gr.Slider(
                    0, space.config.num_distance_buckets - 1, step=1, value=22, visible=False, elem_id="slider",
                    label="What if the distance were another?",
                    info="0 is none; 1 is 1 m, and each step doubles it; 22 is not known",
                )  # fmt: skip
                plot = gr.HTML(elem_id="plot", label="The answer at every distance", padding=False)
        with gr.Accordion("Many photos at once", open=False):
            files = gr.File(
                label="Photos", file_count="multiple", file_types=["image"], type="filepath", elem_id="files"
            )
            ask_many = gr.Button("Tell their types", elem_id="ask-many")
            table = gr.HTML(elem_id="many", label="Their types")
        gr.Markdown(CREDITS)

        for component in (photo, files):
            refuse_addresses(gr, component)
        answers = [answer, plot, slider, state]
        private = {"api_visibility": "private"}
        script = private | {"fn": None, "queue": False}
        page.load(js=ANNOUNCE, **script)
        for tab, is_photo in ((photo_tab, True), (row_tab, False)):
            tab.select(
                lambda is_photo=is_photo: (gr.Button(visible=is_photo), gr.Button(visible=not is_photo)),
                None, [ask_photo, ask_row], queue=False, **private,
            )  # fmt: skip
        asked_photo = ask_photo.click(on_photo, [photo, distance, subject, viewpoint], answers, **private)
        asked_row = ask_row.click(on_row, [row, distance, subject, viewpoint], answers, **private)
        for asked in (asked_photo, asked_row):
            asked.success(js=SHOW_ANSWER, **script)
        slider.input(
            on_slider, [slider, state], [answer, plot], show_progress="hidden", trigger_mode="always_last", **private
        )
        for changed in (photo.upload, photo.clear):
            changed(on_photo_changed, [photo, viewpoint, filled], [viewpoint, gps, filled], **private)
        ask_many.click(on_many, [files], [table], **private)
        # What programs call; the page itself shows more than they need.
        result = gr.JSON(visible=False)
        api = gr.Button(visible=False)
        api.click(classify, [photo, distance, subject, viewpoint], result, api_name="classify")
        api_row = gr.Button(visible=False)
        api_row.click(classify_embedding, [row], result, api_name="classify_embedding")
    page.queue(max_size=QUEUE_SIZE, default_concurrency_limit=1)
    return page


def photo_examples(gr, inputs: list) -> None:
    """Drawn pictures that need no network; nothing is computed until one is chosen and asked about."""
    pictures = sorted(EXAMPLES.glob("*.jpg"))
    places = [["", "SU 5012 4890", "SU 5013 4885"], ["2048", "", ""], ["1", "", ""]]
    if pictures:
        gr.Examples(
            [[str(path), *place] for path, place in zip(pictures, places, strict=False)],
            inputs, label="Examples (drawn by a program)", cache_examples=False, api_visibility="private",
            example_labels=["A church, two points", "Hills, 2 km away", "A plaque, 1 m away"][: len(pictures)],
        )  # fmt: skip


def row_examples(gr, row) -> None:
    lines = (EXAMPLES / "rows.txt").read_text().splitlines() if (EXAMPLES / "rows.txt").is_file() else []
    if lines:
        gr.Examples(
            [[line] for line in lines], [row], label="Examples (synthetic rows)", cache_examples=False,
            example_labels=[f"Row {i}" for i in range(1, len(lines) + 1)], api_visibility="private",
        )  # fmt: skip


def refuse_addresses(gr, component) -> None:
    """Gradio would fetch an address that a visitor gives instead of a file: here it refuses."""
    move = component.async_move_resource_to_block_cache

    async def move_own_files(path):
        if path is not None and re.match(r"[a-z][a-z0-9+.-]*:", str(path), re.IGNORECASE):
            raise gr.Error("Addresses are not fetched here: upload the photo itself.", print_exception=False)
        return await move(path)

    component.async_move_resource_to_block_cache = move_own_files


def launch(page, **options: Any):
    """Serves the page; system fonts, so that nothing is fetched from elsewhere."""
    import gradio as gr

    from geograph_types.space import view as view

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    theme = gr.themes.Soft(primary_hue="blue", **fonts).set(**CONTRAST)
    host = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1")  # noqa: S104
    return page.launch(
        server_name=host, max_file_size=MAX_UPLOAD, theme=theme, css=view.STYLE, show_error=True,
        footer_links=["api"], **options,
    )  # fmt: skip


if __name__ == "__main__":
    from geograph_types import cli

    cli.run(main)
