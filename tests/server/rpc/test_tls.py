"""TLS of a whole server: mutual, wrong, and read again."""

import asyncio
import datetime
import os
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moodstream.v1 import service_pb2, service_pb2_grpc

from server.app import running_server
from server.rpc.tls import TlsError
from server.settings import TlsSettings

INFO = service_pb2.GetServerInfoRequest()


class Authority:
    """Signs certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {id(self)}")])
        self.pem = self._signed(self.name, self.key, is_authority=True).public_bytes(serialization.Encoding.PEM)

    def pair(self, expired: bool = False) -> tuple[bytes, bytes]:
        """Key and certificate of `localhost`, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, self._signed(name, key, expired=expired).public_bytes(serialization.Encoding.PEM)

    def _signed(self, name, key, is_authority: bool = False, expired: bool = False) -> x509.Certificate:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - 3 * day).not_valid_after(now - day if expired else now + day)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        return builder.sign(self.key, hashes.SHA256())


AUTHORITY, STRANGER = Authority(), Authority()


def tls_files(folder: Path, client_ca: bytes | None = None) -> TlsSettings:
    key, certificate = AUTHORITY.pair()
    (folder / "key.pem").write_bytes(key)
    (folder / "certificate.pem").write_bytes(certificate)
    if client_ca is not None:
        (folder / "ca.pem").write_bytes(client_ca)
    return TlsSettings(
        certificate=folder / "certificate.pem",
        key=folder / "key.pem",
        client_ca=None if client_ca is None else folder / "ca.pem",
    )


async def ask(address: str, root: bytes, pair: tuple[bytes, bytes] | tuple[None, None] = (None, None)) -> str:
    port = address.rsplit(":", 1)[1]
    credentials = grpc.ssl_channel_credentials(root, *pair)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        info = await service_pb2_grpc.SentimentServiceStub(channel).GetServerInfo(INFO, timeout=10)
    return info.version


async def test_only_who_knows_the_authority_gets_an_answer(settings_for, tmp_path: Path):
    async with running_server(settings_for("onnxruntime", tls=tls_files(tmp_path))) as running:
        assert await ask(running.address, AUTHORITY.pem)
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(running.address, STRANGER.pem)
        async with grpc.aio.insecure_channel(running.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await service_pb2_grpc.SentimentServiceStub(channel).GetServerInfo(INFO, timeout=10)


async def test_mutual_tls_wants_a_certificate_of_the_right_authority(settings_for, tmp_path: Path):
    tls = tls_files(tmp_path, client_ca=AUTHORITY.pem)
    async with running_server(settings_for("onnxruntime", tls=tls)) as running:
        assert await ask(running.address, AUTHORITY.pem, AUTHORITY.pair())
        for pair in ((None, None), STRANGER.pair(), AUTHORITY.pair(expired=True)):
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(running.address, AUTHORITY.pem, pair)


async def test_a_new_certificate_is_taken_without_a_restart(settings_for, tmp_path: Path):
    tls = tls_files(tmp_path)
    async with running_server(settings_for("onnxruntime", tls=tls)) as running:
        assert await ask(running.address, AUTHORITY.pem)
        key, certificate = STRANGER.pair()
        tls.key.write_bytes(key)
        tls.certificate.write_bytes(certificate)
        os.utime(tls.certificate, ns=(1, 1))
        assert await ask(running.address, STRANGER.pem)
        tls.key.unlink()
        await asyncio.sleep(0)
        assert await ask(running.address, STRANGER.pem)


async def test_files_that_are_no_certificate_are_refused(settings_for, tmp_path: Path):
    tls = tls_files(tmp_path)
    tls.key.unlink()
    with pytest.raises(TlsError, match=r"key\.pem"):
        async with running_server(settings_for("onnxruntime", tls=tls)):
            pass
