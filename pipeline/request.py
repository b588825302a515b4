"""What a person asks for, and what a step is asked to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pipeline.episode import EpisodeFolder
from pipeline.footer import Footer
from pipeline.options import ResolvedOptions

Operation = Literal["run", "detect", "track"]


@dataclass(frozen=True)
class RunRequest:
    """What a person asks for.

    Attributes:
        video: path of the video; None for the operation `track`.
        ep_id: None takes it from the file name.
        force: do it again even where it is done.
    """

    operation: Operation
    video: Path | None
    ep_id: str | None
    output_root: Path
    options: ResolvedOptions
    force: bool = False


@dataclass(frozen=True)
class StepRequest:
    """One step of one episode, as it is handed to the process that does it.

    Attributes:
        video: path, or None for a step that decodes nothing.
        footer: what the files to be written say of where they come from.
        threads: CPUs to keep busy.
    """

    video: str | None
    folder: EpisodeFolder
    footer: Footer
    options: ResolvedOptions
    threads: int

    def to_json(self) -> bytes:
        """One line."""
        fields = {
            "video": self.video,
            "root": str(self.folder.root),
            "footer": asdict(self.footer),
            "options": self.options.model_dump(mode="json"),
            "threads": self.threads,
        }
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> StepRequest:
        fields = json.loads(line)
        footer = Footer(**fields["footer"])
        return cls(
            fields["video"],
            EpisodeFolder(Path(fields["root"]), footer.ep_id),
            footer,
            ResolvedOptions(**fields["options"]),
            fields["threads"],
        )
