"""A stored instance as an instance to send by C-STORE (`scu/transfer.py`). The caller gets the outcome."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.index.locate import Located
from gateway.retrieve.opened import Changed, Content
from gateway.retrieve.retrieval import Retrieval
from gateway.scu.transfer import Choose


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One instance of the archive; looked up again if it has moved when it is prepared."""

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
        """Open the instance to send. Raises like `Retrieval.data_set`."""
        return await self.retrieval.data_set(self.located, choose)


@dataclass(frozen=True, slots=True)
class ChangedInstance:
    """One instance of the archive with a change set applied. The owner of `changed` closes it."""

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
        """Open the instance to send. Raises like `Retrieval.changed`."""
        return await self.retrieval.changed(self.changed, choose)
