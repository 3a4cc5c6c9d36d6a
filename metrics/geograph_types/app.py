"""The metric's page on the Hub: its README. `evaluate.load("USER/geograph_types")` reads the module beside it."""

from pathlib import Path

import gradio as gr

README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")

with gr.Blocks(title="Geograph types") as demo:
    gr.Markdown(README.split("---", 2)[2])

if __name__ == "__main__":
    demo.launch()
