"""The page, made of named parts: what it is for, the photo and its places, the answer, many photos, the API."""

import importlib.util
import json
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from geograph_types.space import view
from geograph_types.space.answering import Answering
from geograph_types.space.fields import EXAMPLES, photo_field, photos_field, row_field, text_field
from geograph_types.space.many import MAX_PHOTOS
from geograph_types.space.model import SpaceModel
from geograph_types.space.uploads import MIB, QUEUE_SIZE, Uploads

HERE = Path(__file__).resolve().parent
TITLE = "Geograph types of a photo"
ABOUT = "Drop a photo of Britain or Ireland and see which Geograph types suit it, and why."
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
SCRIPT: dict[str, Any] = PRIVATE | {"fn": None, "queue": False}

SYNTHETIC = (
    '<div class="gt"><p class="gt-banner" role="note"><strong>A practice model.</strong> It learnt from invented '
    "data, so that everything can be tried; what it says about real photos means nothing.</p></div>"
)


def build(space: SpaceModel, uploads: Uploads) -> gr.Blocks:
    """The page on a model; its API answers as the page does."""
    answering = Answering(space, uploads.file_limit)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        introduction(space)
        part = SimpleNamespace()
        with gr.Row(elem_id="board"):
            photo_part(part)
            part.types = gr.HTML(nothing_yet(), elem_id="types", padding=False)
            places_part(part)
            part.details = gr.HTML("", elem_id="details", padding=False)
        many_part(part, uploads)
        gr.Markdown(credits(uploads))
        ask_and_show(part, answering)
        what_changes(part)
        ask_many(part, answering)
        for_programs(part, answering)
    page.queue(max_size=QUEUE_SIZE, default_concurrency_limit=1)
    return page


def introduction(space: SpaceModel) -> None:
    """What the page is for, and what the types are."""
    tags = ", ".join(dict.fromkeys(view.tag_of(name) for name in space.classes))
    gr.Markdown(
        f"# {TITLE}\n{ABOUT} The types: {tags}. [Geograph](https://www.geograph.org.uk) sorts its photos by them.",
        elem_id="intro",
    )
    meanings = f"<details><summary>What the types mean</summary>{view.meanings(space.classes)}</details>"
    gr.HTML(f'<div class="gt">{meanings}</div>', padding=False)
    if space.config.synthetic:
        gr.HTML(SYNTHETIC, padding=False)


def photo_part(part: SimpleNamespace) -> None:
    """The photo, or an embedding for those who have one."""
    with gr.Column(elem_id="photo-part"), gr.Tabs():
        with gr.Tab("A photo") as part.photo_tab:
            part.photo = photo_field(
                label="Photo", sources=["upload", "clipboard"], height=260,
                elem_id="photo", buttons=[], placeholder="Drop a photo here, or choose one",
            )  # fmt: skip
            gr.HTML(example_buttons(), elem_id="examples", padding=False)
            part.examples = [
                (gr.Button(visible="hidden", elem_id=f"example-{i}"), e) for i, e in enumerate(examples())
            ]
        with gr.Tab("An embedding") as part.row_tab:
            part.row = text_field(
                label="One row of the dataset or its source, as JSON", lines=5, max_lines=8, elem_id="row",
                placeholder=row_examples()[0],
            )  # fmt: skip
            with gr.Row():
                part.rows = [(gr.Button(f"Made-up row {i}"), row) for i, row in enumerate(row_examples(), 1)]


def places_part(part: SimpleNamespace) -> None:
    """What is known of the photo's place."""
    with gr.Column(elem_id="places"):
        with gr.Group():
            part.distance = text_field(
                label="Distance to the subject, in metres", elem_id="distance", placeholder="300", max_lines=1,
                info="Blank: from the two places below, else not known", value="",
            )  # fmt: skip
            part.subject = text_field(
                label="Primary Photo Subject: where it is", placeholder="TQ 3003 8048", max_lines=1,
                info="A grid reference, or latitude, longitude", elem_id="subject", value="",
            )  # fmt: skip
            part.viewpoint = text_field(
                label="Photographer Position: where the camera was", placeholder="51.5074, -0.1283", max_lines=1,
                info="Blank: from the photo's GPS tag; “unknown” leaves the tag out", elem_id="viewpoint", value="",
            )  # fmt: skip
        part.button = gr.Button("Show the types", variant="primary", elem_id="show")


def many_part(part: SimpleNamespace, uploads: Uploads) -> None:
    """A folder of photos."""
    with gr.Accordion("Many photos at once", open=False, elem_id="many-part"):
        part.files = photos_field(
            label=f"Up to {MAX_PHOTOS} photos, each up to {uploads.file_limit // MIB} MB, "
            f"together up to {uploads.limit // MIB} MB", elem_id="files", height=240,
        )  # fmt: skip
        part.many_subject = text_field(
            label="One subject for all (optional)", placeholder="TQ 3003 8048", elem_id="many-subject", max_lines=1,
            info="Each photo's GPS tag, where it has one, says where the photographer stood", value="",
        )  # fmt: skip
        part.many_button = gr.Button("Show their types", elem_id="ask-many", variant="primary")
        part.table = gr.HTML("", elem_id="many", padding=False)


def ask_and_show(part: SimpleNamespace, answering: Answering) -> None:
    """One way to ask for all that changes: the hidden button that page.js presses."""
    request = gr.Textbox("", visible="hidden")
    answer = gr.JSON(None, visible="hidden")
    ask = gr.Button(visible="hidden", elem_id="ask")
    fields = [part.photo, part.distance, part.subject, part.viewpoint, part.row]
    asked = ask.click(
        answering.for_page, [request, *fields], answer, js="(...all) => geograph.asking(...all)",
        trigger_mode="always_last", show_progress="hidden", **PRIVATE,
    )  # fmt: skip
    shown = [part.types, part.details, part.viewpoint]
    asked.success(js="(...all) => geograph.show(...all)", inputs=[answer, *shown], outputs=shown, **SCRIPT)
    asked.failure(js="() => geograph.failed()", outputs=shown[:2], **SCRIPT)


def what_changes(part: SimpleNamespace) -> None:
    """Whatever a visitor changes takes the old answer away at once; most of it asks anew."""
    shown, places = [part.types, part.details], [part.distance, part.subject, part.viewpoint]
    part.photo.upload(js="() => geograph.newPhoto()", outputs=[*shown, *places], **SCRIPT)
    part.photo.clear(js="() => geograph.noPhoto()", outputs=[*shown, *places], **SCRIPT)
    wrong = gr.Button(visible="hidden", elem_id="wrong-photo")
    wrong.click(js="() => [...geograph.noPhoto(), null]", outputs=[*shown, *places, part.photo], **SCRIPT)
    for field in (*places, part.row):
        field.input(js="() => geograph.typed()", outputs=shown, **SCRIPT)
    for entered in (*(field.submit for field in places), part.button.click):
        entered(js="() => geograph.entered()", outputs=shown, **SCRIPT)
    for tab, mode in ((part.photo_tab, "photo"), (part.row_tab, "row")):
        tab.select(js=f"() => geograph.tab('{mode}')", outputs=shown, **SCRIPT)
    for button, example in part.examples:
        given = json.dumps([example[key] for key in ("file", "distance", "subject", "viewpoint")])
        button.click(js=f"() => geograph.example(...{given})", outputs=[*shown, part.photo, *places], **SCRIPT)
    for button, row in part.rows:
        button.click(
            js=f"() => [...geograph.entered(), {json.dumps(row)}, '', '', '']", outputs=[*shown, part.row, *places],
            **SCRIPT,
        )  # fmt: skip


def ask_many(part: SimpleNamespace, answering: Answering) -> None:
    """Many photos: progress while they are answered; other files or another subject take the table away."""
    request, answer = gr.Textbox("", visible="hidden"), gr.JSON(None, visible="hidden")
    asked = [
        started(
            answering.many, [request, part.files, part.many_subject], answer,
            js="(...all) => geograph.manyAsking(...all)", trigger_mode="always_last", show_progress="hidden",
            **PRIVATE,
        )
        for started in (part.many_button.click, part.many_subject.submit)
    ]  # fmt: skip
    answer.change(
        js="(...all) => geograph.manyShow(...all)", inputs=[answer, part.table], outputs=part.table, **SCRIPT
    )
    for event in asked:
        event.failure(js="() => geograph.manyFailed()", outputs=part.table, **SCRIPT)
    for changed in (part.files.upload, part.files.clear, part.files.delete, part.many_subject.input):
        changed(js="() => geograph.manyChanged()", outputs=part.table, cancels=asked, **SCRIPT)


def for_programs(part: SimpleNamespace, answering: Answering) -> None:
    """What programs call; the page itself shows more than they need."""
    result, photo, row = gr.JSON(visible=False), gr.Button(visible=False), gr.Button(visible=False)
    inputs = [part.photo, part.distance, part.subject, part.viewpoint]
    photo.click(answering.classify, inputs, result, api_name="classify")
    whole = row_field(label="One row of the dataset or its source", visible=False)
    row.click(answering.classify_embedding, [whole], result, api_name="classify_embedding")


def example_buttons() -> str:
    """The examples with their pictures; page.js presses the hidden button of each."""
    return '<div class="gt gt-examples">' + "".join(
        f'<button type="button" data-press="example-{i}"><img src="examples/{e["file"]}" alt="">'
        f"{escape(e['label'])}</button>"
        for i, e in enumerate(examples())
    ) + "</div>"  # fmt: skip


def nothing_yet() -> str:
    """The answer's place before there is one: a photo with its types, as a person gave them."""
    first = examples()[0]
    chips = "".join(f"<li>{escape(tag)}</li>" for tag in first["types"])
    return (
        '<div class="gt gt-card"><h2>What an answer is like</h2><div class="gt-example">'
        f'<img src="examples/{first["file"]}" alt="{escape(first["alt"])}"><div><ul class="gt-types">{chips}</ul>'
        f'<p class="gt-why">{escape(first["why"])}</p></div></div>'
        '<p class="gt-small">Drop a photo, or try an example: its types appear here.</p></div>'
    )


def script(uploads: Uploads) -> str:
    """The page's own JavaScript, with the limits that it tells before anything is sent."""
    limits = {
        "fileLimit": uploads.file_limit, "photoLimit": MAX_PHOTOS, "totalLimit": uploads.limit,
        "heic": importlib.util.find_spec("pillow_heif") is not None,
    }  # fmt: skip
    told = f"window.geographLimits = {json.dumps(limits)}; window.geographEmpty = {json.dumps(nothing_yet())};"
    return f"<script>{told}\n{(HERE / 'page.js').read_text(encoding='utf-8')}</script>"


def credits(uploads: Uploads) -> str:
    kept = f"{uploads.kept // 60:g} minutes"
    return (
        f"**Your photos**: each lies in a private folder of this Space while it is looked at, for {kept} at most, and "
        "all of them go when the Space stops. None is stored elsewhere or used for anything else.\n\n"
        "Photos on [Geograph Britain and Ireland](https://www.geograph.org.uk) are © their photographers, "
        "[CC BY-SA 2.0](https://creativecommons.org/licenses/by-sa/2.0/); credit one as\n"
        "`Title / cc-by-sa/2.0 - © Name - geograph.org.uk/p/ID`\n\nOfficial data and weights: CC BY-SA 4.0, Geograph "
        "Project Limited. Code: Apache-2.0. The example pictures were made by a program."
    )


def examples() -> list[dict[str, Any]]:
    return json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8"))


def row_examples() -> list[str]:
    return (EXAMPLES / "rows.txt").read_text(encoding="utf-8").splitlines()
