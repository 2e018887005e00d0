"""hilum: train and compare detectors of lung opacity on chest radiographs."""

__version__ = "0.1.0"
