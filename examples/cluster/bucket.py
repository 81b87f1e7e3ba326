"""Make a bucket: bucket.py ENDPOINT NAME, with the keys in the environment. No error where it is there already."""

import sys

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

endpoint, name = sys.argv[1:]
client = boto3.client(
    "s3", endpoint_url=endpoint, region_name="us-east-1", config=Config(s3={"addressing_style": "path"})
)
try:
    client.create_bucket(Bucket=name)
except ClientError as error:
    if not error.response["Error"]["Code"].startswith("BucketAlready"):
        raise
