"""The page's colours: Gradio's own greys and blues are too faint to read for many; here at least 4.5 : 1 (WCAG AA)."""

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
    "button_secondary_background_fill": "#e3eaf1",
    "button_secondary_background_fill_dark": "#26374a",
    "button_secondary_background_fill_hover": "#cfdbe7",
    "button_secondary_background_fill_hover_dark": "#34495f",
    "button_secondary_text_color": "#12304d",
    "button_secondary_text_color_dark": "#f1f5f9",
    "button_secondary_text_color_hover": "#12304d",
    "button_secondary_text_color_hover_dark": "#f1f5f9",
    "button_secondary_border_color": "#7a8796",
    "button_secondary_border_color_dark": "#7a8796",
    "button_primary_text_color": "#ffffff",
    "button_primary_text_color_dark": "#ffffff",
    "body_text_color_subdued": "#4b5563",
    "body_text_color_subdued_dark": "#cbd5e1",
}


def theme():
    """Gradio's Soft theme in these colours and the system's fonts, so that nothing is fetched from elsewhere."""
    import gradio as gr

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return gr.themes.Soft(primary_hue="blue", **fonts).set(**CONTRAST)
