"""What the page and programs ask, answered: from a visitor's fields to what is shown, or to a prediction."""

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from geograph_types.space import many, view
from geograph_types.space.asking import Mistake, Question, question_of_photo, question_of_row, read_upload
from geograph_types.space.fields import Upload
from geograph_types.space.model import SpaceModel
from grid_geograph import format_grid_ref

NO_PHOTO = "Choose a photo first."


class Answering:
    """The functions behind the page. `limit`: bytes of a photo."""

    def __init__(self, space: SpaceModel, limit: int):
        self.space, self.limit = space, limit

    def for_page(self, request: str, *fields: Any) -> dict[str, Any]:
        """The page's question → what it shows, with the question's number, so that only the newest is shown.

        Args:
            fields: the photo (an `Upload` or None), distance, subject, viewpoint, and the row, as typed.
        """
        photo, distance, subject, viewpoint, row = fields
        asked = json.loads(request or "{}")
        answer = {"question": asked.get("question"), "explicit": bool(asked.get("explicit"))}
        try:
            if asked.get("mode") == "row":
                if not row.strip() and not answer["explicit"]:
                    return answer | {"empty": True}
                question, name = self._row(row, distance, subject, viewpoint), ""
            else:
                if photo is None and not answer["explicit"]:
                    return answer | {"empty": True}
                question, name = self._photo(photo, distance, subject, viewpoint), photo.name if photo else ""
            return answer | self._shown(question, name)
        except Mistake as error:
            return answer | {"error": {"field": error.field, "message": str(error)}}

    def _shown(self, question: Question, name: str) -> dict[str, str]:
        own, thresholds = self.space.prediction(question), self.space.thresholds
        everywhere = self.space.at_every_distance(question)
        return {
            "types": view.types_panel(own, question, thresholds, name),
            "details": view.details_panel(everywhere, thresholds, question.bucket, own),
            "viewpoint": "" if question.gps is None else format_grid_ref(question.gps),
        }

    def many(self, request: str, files: list[Upload], subject: str) -> Iterator[dict[str, Any]]:
        """Many photos → progress, and at last the table."""
        answer, done = {"question": json.loads(request or "{}").get("question")}, []
        try:
            answers = many.answers(self.space, files, subject, self.limit)
            yield answer | {"html": many.progress(0, len(files))}
            for item in answers:
                done.append(item)
                yield answer | {"html": many.progress(len(done), len(files))}
            yield answer | {"html": many.table(done, self.space.classes)}
        except Mistake as error:
            yield answer | {"error": {"field": error.field or "files", "message": str(error)}}

    def classify(self, photo: Upload, distance: str = "", subject: str = "", viewpoint: str = "") -> dict:
        """The types of a photo. A blank distance follows from the two places, a blank viewpoint from the GPS tag.

        Args:
            photo: the photo, uploaded; at most 20 MB.
            distance: metres from the photographer to the subject, such as 300, or "unknown". Blank: from the two
                places, else not known.
            subject: where the photo's subject is: a grid reference, or latitude, longitude. Blank: not known.
            viewpoint: where the photographer stood, in the same forms. Blank: from the photo's GPS tag, if it has
                one; "unknown" leaves the tag out.

        Returns:
            types, scores (class: probability), cross_grid ("geometry", "model" or null), note, error.
        """
        return _told(lambda: self.space.prediction(self._photo(photo, distance, subject, viewpoint)))

    def classify_embedding(self, row: Any) -> dict:
        """The types of a ready embedding.

        Args:
            row: one row of the dataset or of its source, as JSON, with embeddings (base64 or numbers) and distance,
                and perhaps subject and viewpoint.

        Returns:
            gridimage_id (where the row has one), types, scores, cross_grid, note, error.
        """
        return _told(lambda: self.space.prediction(self._row(row)))

    def _photo(self, photo: Upload | None, distance: str, subject: str, viewpoint: str) -> Question:
        if photo is None:
            raise Mistake("photo", NO_PHOTO)
        question = question_of_photo(read_upload(photo.path, photo.name, self.limit), distance, subject, viewpoint)
        self.space.look_at(question, photo.name)
        return question

    def _row(self, row: Any, distance: str = "", subject: str = "", viewpoint: str = "") -> Question:
        return question_of_row(row, self.space.config.embedding_dim, distance, subject, viewpoint)


def _told(work) -> dict:
    """A visitor's mistake reaches a program as its one sentence, with the field before it."""
    try:
        return work()
    except Mistake as error:
        field = f"{error.field}: " if error.field else ""
        raise gr.Error(f"{field}{error}", print_exception=False) from None
