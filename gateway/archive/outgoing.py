"""A stored instance as something to send by C-STORE (`scu/sending.py`). What became of it is the caller's."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.archive.retrieve import Changed, Content, Retrieval
from gateway.index.locate import Located
from gateway.scu.sending import Choose


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One instance of the archive. Should it have moved when its turn comes, it is looked up again."""

    located: Located
    retrieval: Retrieval

    @property
    def name(self) -> str:
        return self.located.sop_uid

    @property
    def study_instance_uid(self) -> str:
        return self.located.study_uid

    @property
    def series_instance_uid(self) -> str:
        return self.located.series_uid

    @property
    def sop_class_uid(self) -> str:
        return self.located.sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        return self.located.sop_uid

    @property
    def transfer_syntax_uid(self) -> str:
        return self.located.transfer_syntax_uid

    async def prepare(self, choose: Choose) -> Content:
        """Raises as `Retrieval.data_set` does."""
        return await self.retrieval.data_set(self.located, choose)


@dataclass(frozen=True, slots=True)
class ChangedInstance:
    """One instance of the archive with changes made. Who made them closes it."""

    changed: Changed
    retrieval: Retrieval

    @property
    def name(self) -> str:
        return self.changed.located.sop_uid

    @property
    def study_instance_uid(self) -> str:
        return self.changed.edited.study_instance_uid

    @property
    def series_instance_uid(self) -> str:
        return self.changed.edited.series_instance_uid

    @property
    def sop_class_uid(self) -> str:
        return self.changed.edited.sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        return self.changed.edited.sop_instance_uid

    @property
    def transfer_syntax_uid(self) -> str:
        return self.changed.edited.transfer_syntax_uid

    async def prepare(self, choose: Choose) -> Content:
        """Raises as `Retrieval.changed` does."""
        return await self.retrieval.changed(self.changed, choose)
