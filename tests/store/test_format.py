import shutil
from pathlib import Path

from everloop.registry.routes import Routes
from everloop.registry.versions import Registry
from everloop.spec.project import StoreSpec
from everloop.store.bundles import Bundles
from everloop.store.objects import Objects
from everloop.store.tables import Tables

FORMAT_1 = Path(__file__).parent / "fixtures" / "format_1"


def test_a_store_of_format_1_is_read_and_written_on(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1, tmp_path / "state")
    spec = StoreSpec(url="state")
    objects = Objects.open(spec, tmp_path)
    table = Tables(objects, spec).table("clean/main")
    assert (table.version(), table.offset("main"), table.num_rows()) == (1, 1, 4)
    frame = table.scan().collect()
    assert frame["n"].to_list() == [0, 10, 1, 11]
    assert table.append(frame, app="main", offset=2) == 2
    version = Registry(objects, "flights").version(1)
    assert Registry(objects, "flights").aliases() == {"champion": 1}
    assert Bundles(objects).open(version.bundle).files == {"model.onnx": b"graph"}
    route = Routes(objects, "flights").current()
    assert route is not None
    assert route.live[0].bundle == version.bundle
