"""Spreadsheets for the tests, made in code: .xlsx and .ods by their XML; an .xls that `xlwt` wrote, packed."""

from __future__ import annotations

import base64
import lzma
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

# sheet "One": text, label, when; ("héllo", 3, 2026-01-31), a blank row, ("yo", 4.5, nothing)
OLD = lzma.decompress(
    base64.b64decode(
        """
/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4BX/AlJdAGgzvhyGMHdg9KSEKkAMHHYngvKRhtyIyie64aC3xgQTZ5vNmLlpNRUqmeED08XozNH0Sz
/ZqCLxYNmwx+4v1UI+paOKIneBVRFwGzT6D/ujymYAx2HNK6igkTgwCYzLHYse39FHGA104/DYJ4+VKGOmrUwK6ls6nK/V8ANGtcY3YFqYFEqC
x5eWX79ofuY4cKoND/k7tx7JFKeHSazwp/H40Fv4HQxGZJEZZQu5VmygJkk4iVzyLa6f/PdweAVznRV+uXR+ljV6voG9g6/jg525NlHbcAatCL
Fa9nlziflrmV8zadAYMWXpVmcSbAUhb9Mj9yCh0o5NHtc4yTK+1oCKmIlh/uqflQt5KIviWBEyKSHA+MTbZv9vqIQHITvHXJXeg+CSQWOBmsIf
T69C2PAsGPiQ8kq270q9VxMRIHXQJSLrKZTgVQtLtUUPCMbTyvp8gWHCZT5UHwouYkRQvJAMCiFKaiDC2ysrKjxgoPmlVkfmjpHT5UGBlexMdQ
WFdNkyEX48x4ND7NTAF4A+2si0PvFEC9ZXwK2TAWWf09qcnU0lxwl1Fy3l7ggVvP/qtp5EZ8wU4SYXxDcVgxbIAS6NMoniJC1yUj2Vw9cyQmZC
buWzpzaa/2+2AKxVbsfPzaeVllb1B7h5yZOYfVgLcrob8X/ultQVq3gseQguACqd3lO5RNAFFe3qgrAO9sNfqw+kfYw7tk7q9/on+1qswXTJUq
mrl4nQoCeR3ic19UOMt04q4i2IsNuMhD/Iraf8tI6PQkEbpSeU81KnkUk4c0WCIAAAANww3bo6lCC+AAHuBIAsAABQAZXGscRn+wIAAAAABFla
"""
    )
)
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKED = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"


def xlsx(path: Path, sheets: Mapping[str, Sequence[Sequence[Any]]]) -> Path:
    """Write sheets of rows of cells: None, text, a number, a bool, or the XML of a cell as bytes with a %s for its place."""
    names = list(sheets)
    kinds = [
        f'<Override PartName="/xl/worksheets/s{i}.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        for i in range(len(names))
    ]
    listed = "".join(f'<sheet name="{escape(name)}" sheetId="{i + 1}" r:id="r{i}"/>' for i, name in enumerate(names))
    related = "".join(
        f'<Relationship Id="r{i}" Type="{_RELATED}/worksheet" Target="worksheets/s{i}.xml"/>' for i in range(len(names))
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{_PACKED}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
            f'<Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/>{"".join(kinds)}</Types>',
        )
        file.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{_PACKED}/relationships"><Relationship Id="r0" Type="{_RELATED}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        file.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATED}"><sheets>{listed}</sheets></workbook>'
        )
        file.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{_PACKED}/relationships">{related}<Relationship Id="s" Type="{_RELATED}/styles" Target="styles.xml"/></Relationships>',
        )
        file.writestr(  # style 1 is a date, 2 a date with a time, 3 a time, 4 a length of time
            "xl/styles.xml",
            f'<styleSheet xmlns="{_MAIN}"><numFmts count="1"><numFmt numFmtId="164" formatCode="[h]:mm:ss"/></numFmts><cellXfs count="5"><xf numFmtId="0"/>'
            '<xf numFmtId="14"/><xf numFmtId="22"/><xf numFmtId="21"/><xf numFmtId="164"/></cellXfs></styleSheet>',
        )
        for i, rows in enumerate(sheets.values()):
            body = "".join(
                f'<row r="{r}">{"".join(_cell(v, r, c) for c, v in enumerate(row))}</row>'
                for r, row in enumerate(rows, 1)
            )
            file.writestr(
                f"xl/worksheets/s{i}.xml", f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>'
            )
    return path


def ods(path: Path, name: str, rows: Sequence[Sequence[str | bytes]]) -> Path:
    """Write one sheet of texts; bytes are the XML of a cell."""
    cells = "".join(
        "<table:table-row>"
        + "".join(
            v.decode()
            if isinstance(v, bytes)
            else f'<table:table-cell office:value-type="string"><text:p>{escape(v)}</text:p></table:table-cell>'
            for v in row
        )
        + "</table:table-row>"
        for row in rows
    )
    spaces = "".join(f' xmlns:{each}="{_OFFICE}{each}:1.0"' for each in ("office", "table", "text"))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        file.writestr(
            "META-INF/manifest.xml",
            f'<manifest:manifest xmlns:manifest="{_OFFICE}manifest:1.0"><manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>',
        )
        file.writestr(
            "content.xml",
            f'<office:document-content{spaces}><office:body><office:spreadsheet><table:table table:name="{escape(name)}">{cells}</table:table></office:spreadsheet></office:body></office:document-content>',
        )
    return path


def _cell(value: Any, row: int, column: int) -> str:
    place = f'r="{chr(65 + column)}{row}"'
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode() % place
    if isinstance(value, bool):
        return f'<c {place} t="b"><v>{int(value)}</v></c>'
    if isinstance(value, (int, float)):
        return f"<c {place}><v>{value!r}</v></c>"
    return f'<c {place} t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
