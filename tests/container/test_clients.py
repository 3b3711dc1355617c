"""The generated clients live through their story in the container too."""

from pathlib import Path

import pytest

from tests.container.compose import Project
from tests.support import stories

pytestmark = pytest.mark.container


@pytest.mark.parametrize("language", stories.LANGUAGES)
def test_story(installed: Project, tmp_path: Path, language: str) -> None:
    story = stories.prepare(language, tmp_path / language)
    story.check()

    story.tell(installed.url, installed.admin_key())
