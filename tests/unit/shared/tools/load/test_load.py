import csv
import json

import polars as pl
import pytest

from shared.contracts.errors import Invalid, NotFound
from shared.tools.load.columns import guessed, kind_of, plain
from shared.tools.load.files import Table
from shared.tools.load.rows import Reader, moment
from shared.tools.load.run import Import, Progress, Rejects
from shared.tools.load.send import Answer, Sender, Told


class Door:
    """A collector that keeps what it gets, and refuses what has no item."""

    def __init__(self, *, fail_after=10**9):
        self.batches = []
        self.fail_after = fail_after

    def send(self, events):
        if len(self.batches) >= self.fail_after:
            raise ConnectionError("killed")
        self.batches.append(events)
        bad = [
            i
            for i, e in enumerate(events)
            if "data" in e and "items" not in e["data"] and "lines" not in e["data"]
        ]
        return Answer(len(events) - len(bad), 0, [Told(i, "no items", "data.items") for i in bad])

    @property
    def events(self):
        return [e for batch in self.batches for e in batch]


def job(path, door, *, kind="behaviour", progress=None):
    table = Table(path)
    reader = Reader(kind, guessed(table.columns(), kind, {}))
    state = path.with_suffix(".state")
    progress = progress or Progress.read(state)
    rejects = Rejects(path.with_suffix(".rejects.csv"), after=progress.done)
    return Import(table, kind, reader, door, rejects, state, progress)


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        (["household_id", "product_id", "quantity", "sales_value", "transaction_timestamp"], "behaviour"),
        (["userId", "movieId", "rating", "timestamp"], "behaviour"),
        (["product_id", "product_name", "brand", "department"], "catalog"),
        (["Order ID", "Customer ID", "Status", "SKU"], "orders"),
        (["customer_id", "Email", "First Name"], "shoppers"),
    ],
)  # fmt: skip
def test_the_kind_is_guessed_from_the_columns(columns, kind):
    """A shop's first import must not begin with reading a manual."""
    assert kind_of(columns) == kind
    assert guessed(columns, kind, {})


def test_what_is_named_wins_and_what_is_wrong_is_told():
    """A wrong guess that cannot be put right makes the import useless."""
    columns = ["shop_user", "item", "when"]
    found = guessed(columns, "behaviour", {"shop_user": "userid", "when": "time"})
    assert found == {"userid": "shop_user", "time": "when", "item": "item"}
    with pytest.raises(Invalid, match="no column"):
        guessed(columns, "behaviour", {"nope": "userid"})
    with pytest.raises(Invalid, match="no field"):
        guessed(columns, "behaviour", {"item": "nope"})
    with pytest.raises(Invalid, match="--map COLUMN=userid"):
        guessed(["item"], "behaviour", {})
    assert plain("Customer ID") == plain("customerId") == "customer_id"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-01", "2024-03-01T00:00:00+00:00"),
        ("2024-03-01 10:00:00", "2024-03-01T10:00:00+00:00"),
        ("2024-03-01T10:00:00+02:00", "2024-03-01T10:00:00+02:00"),
        ("1709287200", "2024-03-01T10:00:00+00:00"),
        ("1709287200000", "2024-03-01T10:00:00+00:00"),
        ("1709287200000000", "2024-03-01T10:00:00+00:00"),
    ],
)
def test_times_in_the_usual_spellings(text, expected):
    """A time read wrongly by a factor of a thousand spoils every split and trend."""
    assert moment(text, "t") == expected


@pytest.mark.parametrize("text", ["yesterday", "12", "2024-13-01", "inf", "1e400", "-5e11"])
def test_what_is_no_time_is_refused_with_its_column(text):
    """A silently wrong date is worse than a refused row."""
    with pytest.raises(Invalid) as caught:
        moment(text, "when")
    assert caught.value.field == "when"


def test_rows_become_events_worked_out_by_hand():
    """Prices off by a hundred and lost leading zeros are found months later."""
    fields = guessed(["user", "item", "qty", "price", "ts"], "behaviour", {})
    row = {"user": "007", "item": "p1", "qty": "2", "price": "1.99", "ts": "1709287200"}
    assert Reader("behaviour", fields).event(row) == {
        "userid": "007",
        "time": "2024-03-01T10:00:00+00:00",
        "data": {
            "action": "purchase",
            "items": [{"id": "p1", "quantity": 2, "price_cents": 199}],
        },
    }
    fields = guessed(["sku", "name", "category", "price", "in_stock", "colour"], "catalog", {})
    row = {"sku": "p1", "name": "Milk", "category": "Food > Dairy", "price": "0,99",
           "in_stock": "no", "colour": "white"}  # fmt: skip
    assert Reader("catalog", fields).event(row) == {
        "data": {
            "id": "p1", "title": "Milk", "category": ["Food", "Dairy"], "price_cents": 99,
            "available": False, "attributes": {"colour": "white"},
        }
    }  # fmt: skip


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path, ending):
    """Whatever the shop's export looks like, the same history must arrive."""
    frame = pl.DataFrame({"user": [f"0{i}" for i in range(7)], "item": [f"p{i}" for i in range(7)]})
    path = tmp_path / f"x.{ending}"
    if ending == "parquet":
        frame.write_parquet(path)
    elif ending == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_csv(path, separator="\t" if ending == "tsv" else ",")
    table = Table(path)
    assert table.columns() == ["user", "item"]
    assert table.height() == 7
    rows = list(table.rows(after=5))
    assert [(r.number, r.values) for r in rows] == [
        (6, {"user": "05", "item": "p5"}),
        (7, {"user": "06", "item": "p6"}),
    ]


def test_a_file_that_is_not_there_or_not_ours(tmp_path):
    """A typing error must be told before anything is sent."""
    with pytest.raises(NotFound):
        Table(tmp_path / "no.csv")
    (tmp_path / "x.xls").write_bytes(b"")
    with pytest.raises(Invalid):
        Table(tmp_path / "x.xls")


def test_refused_rows_are_kept_with_their_numbers(tmp_path):
    """Who cannot see which rows were refused cannot mend them."""
    path = tmp_path / "x.jsonl"
    rows = [
        {"user": "a", "item": "p"},
        "garbage",
        {"user": "b"},
        {"user": "c", "item": "q", "ts": "x"},
    ]
    path.write_text("\n".join(r if r == "garbage" else json.dumps(r) for r in rows))
    done = job(path, Door()).run(lambda rows: None)
    assert (done.accepted, done.rejected, done.done) == (1, 3, 4)
    with path.with_suffix(".rejects.csv").open() as file:
        told = list(csv.DictReader(file))
    assert [(t["row"], t["field"]) for t in told] == [("2", ""), ("3", "data.items"), ("4", "ts")]
    assert told[0]["content"] == "garbage"


def test_a_broken_import_goes_on_where_it_was(tmp_path):
    """Ten million rows must not begin anew, nor count twice, because a laptop was closed."""
    path = tmp_path / "x.csv"
    path.write_text("user,item\n" + "\n".join(f"u{i},p{i}" for i in range(3500)))
    door = Door(fail_after=2)
    with pytest.raises(ConnectionError):
        job(path, door).run(lambda rows: None)
    assert Progress.read(path.with_suffix(".state")).done == 2000
    door.fail_after = 99
    advanced = []
    done = job(path, door).run(advanced.append)
    assert (done.done, done.accepted, sum(advanced)) == (3500, 3500, 1500)
    assert [e["userid"] for e in door.events] == [f"u{i}" for i in range(3500)]
    assert len({e["id"] for e in door.events}) == 3500
    again = Door()
    job(path, again, progress=Progress()).run(lambda rows: None)
    assert [e["id"] for e in again.events] == [e["id"] for e in door.events]


def test_rows_of_one_order_are_one_order(tmp_path):
    """An order cut into lines would be as many orders."""
    path = tmp_path / "x.csv"
    path.write_text("order_id,status,item\no1,paid,p1\no1,paid,p2\no2,paid,p1\n")
    door = Door()
    job(path, door, kind="orders").run(lambda rows: None)
    assert [[line["item_id"] for line in e["data"]["lines"]] for e in door.events] == [
        ["p1", "p2"],
        ["p1"],
    ]


def test_the_sender_waits_for_a_collector_that_is_full_or_away():
    """An import over night must survive a restart of the collector."""
    import httpx

    answers = [httpx.ConnectError("no"), httpx.Response(429, headers={"retry-after": "3"}),
               httpx.Response(202, json={"accepted": 1})]  # fmt: skip
    slept = []

    def answer(request):
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://x")
    sender = Sender(client, "behaviour", sleep=slept.append, monotonic=lambda: 0.0)
    assert sender.send([{}]).accepted == 1
    assert slept == [1.0, 3.0]
    answers[:] = [httpx.Response(401)]
    with pytest.raises(Invalid, match="401"):
        sender.send([{}])


@pytest.mark.parametrize(
    ("kind", "row", "fact"),
    [
        (
            "orders",
            {"userid": "anna", "order_id": "o1", "status": "placed", "lines": [{"item_id": "p1"}]},
            None,
        ),
        ("orders", {"id": "x", "data": {"order_id": "o1", "status": "paid", "lines": []}}, None),
        (
            "catalog",
            {"id": "p1", "title": "牛奶", "category": ["食品", "奶"], "tags": ["new"]},
            {"id": "p1", "title": "牛奶", "category": ["食品", "奶"], "tags": ["new"]},
        ),
        (
            "shoppers",
            {"user": "anna", "identifiers": {"email": "a@b"}, "personalised": False},
            None,
        ),
    ],
)
def test_events_in_our_own_shape_are_sent_as_they_are(tmp_path, kind, row, fact):
    """An order would lose its lines, a product its path and a person the wish to be left alone."""
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    door = Door()
    job(path, door, kind=kind).run(lambda rows: None)
    expected = row if fact is None else {"data": fact}
    assert [{k: v for k, v in e.items() if k in expected} for e in door.events] == [expected] * 2


@pytest.mark.parametrize(
    ("cell", "field"),
    [
        ("inf,1", "qty"),
        ("1e400,1", "qty"),
        ("-3,1", "qty"),
        ('1,"1,234"', "price"),
        ("1,inf", "price"),
    ],
)
def test_a_number_that_may_be_wrong_costs_its_row_and_no_more(tmp_path, cell, field):
    """A price off by a thousand, or a return that counts as a sale, is found months later."""
    path = tmp_path / "x.csv"
    path.write_text(f"user,item,qty,price\na,p,{cell}\nb,q,2,0\n")
    done = job(path, Door()).run(lambda rows: None)
    assert (done.accepted, done.rejected) == (1, 1)
    with path.with_suffix(".rejects.csv").open() as file:
        assert [(t["row"], t["field"]) for t in csv.DictReader(file)] == [("1", field)]


def test_lines_that_are_no_rows_are_refused_one_by_one(tmp_path):
    """One comma too many, or one name in an old encoding, must not stop ten million rows."""
    path = tmp_path / "x.csv"
    lines = [b"user,item,query", b"a,p,one", b"b,p,two,more", b"c,p", b"", b"d,p,,",
             b"e,p," + "牛奶".encode("gbk"), "f,p,牛奶".encode(), b'g,"p' + b"x" * 200_000]  # fmt: skip
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    door = Door()
    done = job(path, door).run(lambda rows: None)
    assert [(e["userid"], e["data"].get("query")) for e in door.events] == [
        ("a", "one"), ("c", None), ("d", None), ("f", "牛奶"),
    ]  # fmt: skip
    assert (done.done, done.rejected, Table(path).height()) == (7, 3, 7)
    with path.with_suffix(".rejects.csv").open() as file:
        reasons = {t["row"]: t["reason"] for t in csv.DictReader(file)}
    assert reasons.keys() == {"2", "5", "7"}
    assert "4 fields for 3 columns" in reasons["2"]
    assert "UTF-8" in reasons["5"]
    assert "quotation mark" in reasons["7"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.csv", "user,item,名称\n".encode("gbk"), "UTF-8"),
        ("x.csv", "user,item\n".encode("utf-16"), "UTF-8"),
        ("x.csv", b"", "names of its columns"),
        ("x.json", b'[{"user": "a", "item": "p"}]', "one a line"),
        ("x.jsonl", b"x" * (17 << 20), "16 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path, name, content, reason):
    """A Chinese shop's export from a spreadsheet is GBK; its names would arrive as question marks."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Invalid, match=reason):
        Table(path).columns()


def test_a_row_too_large_for_the_door_is_refused_alone(tmp_path):
    """The door turns such a request away, and the import would stop there each time."""
    path = tmp_path / "x.jsonl"
    rows = [{"user": "a", "item": "p", "query": "x" * 800_000}, {"user": "b", "item": "p"}]
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(map(json.dumps, rows)).encode())
    door = Door()
    done = job(path, door).run(lambda rows: None)
    assert (done.accepted, done.rejected) == (1, 1)
    assert [e["userid"] for e in door.events] == ["b"]


def test_an_endless_order_is_cut(tmp_path):
    """A wrong column for the order's id would gather the whole file in memory."""
    path = tmp_path / "x.csv"
    path.write_text("order_id,status,item\n" + "o1,paid,p\n" * 4100)
    door = Door()
    job(path, door, kind="orders").run(lambda rows: None)
    assert [len(e["data"]["lines"]) for e in door.events] == [2000, 2000, 100]
